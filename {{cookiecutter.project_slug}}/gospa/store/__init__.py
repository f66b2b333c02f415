"""The state of rooms: codec, content, draft, typed values, and the contract of a state store.

The data flow of a change:

    action ── runs on ──▶ Draft of the newest state ──▶ Edits: what was read, set and deleted
                                                          │
    StateStore.commit(room, Change) ◀────────────────────┘
        one atomic step: check what was read, write, count the version up, publish a PATCH
        ├─▶ Commit             ACK to the client
        ├─▶ Conflict, Moved    the action runs again on the values, or the state, that came back
        └─▶ Known              some of the mutations had been applied or refused before

    PATCH ──▶ every worker that has a member in the room ──▶ Replica ──▶ members

**Values** are msgpack bytes from the codec to the browser: a store never decodes them, and the
message that it publishes is the one that browsers receive.

**The chain.** A commit has a version above its parent's (by one, unless its Change is `clocked`)
and a random 8-byte tag, and it names its parent's tag. A replica applies a PATCH whose parent is
its own tag. Any other PATCH means that a commit is missing, that it came late, or that the store
lost commits (a failover) and went on counting; a version alone could not tell these apart. So each
attempt of a commit has its own tag: if two attempts are applied, to different states, these have
different tags. A room that was never changed has version 0, NO_TAG and no fields: the defaults of
its class are not in the chain, because releases may differ in them.

**Conflicts** are found by value (optimistic locking): a Change carries the keys that were read with
the bytes read there, and a Conflict returns those that differ. If an action read which items a
collection has, the Change carries the collection's epoch (`gospa/store/content.py`); if the outcome
depends on the whole room, it carries `expect_tag`. If one of these differs, the store returns the
whole room (Moved). Blind writes carry none of them and never conflict. Writers of different keys
never conflict.

**Repeats.** Mutations have a source (a client in its session, an idempotency key, or a command) and
a number. The store keeps a Record for each source: the last number, and earlier numbers that were
refused. A Change with a number that is not above the last one writes nothing and returns the
records (Known): recorded mutations are answered from them, and the others are tried again. So a
client may repeat unanswered mutations, on any worker. Several mutations of one source may share a
commit.

**Lifetimes.** A room expires `room_ttl` after it was last changed or visited. Leases expire by the
store's clock alone.
"""
