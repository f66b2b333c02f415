"""The state of rooms: codec, draft, and the contract of a state store.

How a change gets to everybody, and what holds it together:

    action ── runs on ──▶ Draft of the newest state ──▶ Edits: what was read, set and deleted
                                                          │
    StateStore.commit(room, Change) ◀────────────────────┘
        one atomic step: check what was read, write, count the version up, publish a PATCH
        ├─▶ Commit     ACK to the client
        ├─▶ Conflict   the action runs again on the state that came back
        └─▶ Refused    one of its mutations had been refused before

    PATCH ──▶ every worker that has a member in the room ──▶ Replica ──▶ members

**Values** are msgpack bytes from the codec to the browser: a store never decodes them, and the
message that it publishes is the one that browsers receive.

**The chain.** A commit has a version, one above its parent's, and a random 8-byte tag, and it names
its parent's tag. A replica applies a PATCH whose parent is its own tag. Any other PATCH means that
a commit is missing, that it came late, or that the store lost commits (a failover) and went on
counting; a version alone could not tell these apart. A room that nobody changed has version 0 and
NO_TAG.

**Conflicts** are found by value (optimistic locking): a Change carries the keys that were read with
the bytes read there. `expect_tag` is for an action that read which keys exist. Blind writes
carry neither and never conflict. Writers of different keys never conflict.

**Repeats.** A Change carries each client's mutation number. The store keeps a client's last number
for `mutation_ttl`; a Change with a number that is not above it writes nothing and returns
the recorded outcome. So a client may repeat what was not answered, on any worker.

**Lifetimes.** A room expires `room_ttl` after it was last changed or visited. Leases expire by the
store's clock alone.
"""
