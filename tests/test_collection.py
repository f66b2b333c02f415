"""The browser's collections in Chromium, against Python's dicts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, Route

from tests.baking import APP

# Each case is a list of commits: keys that are set, and keys that are deleted. The result of
# each commit is the state, whether a SNAPSHOT of the same keys gives the same, the keys that were
# said to have changed, and whether all other items and collections are the same objects.
REPLAY = """async (text) => {
  const module = await import('/state.js');
  const { NOTHING, UNKNOWN, adopt, changesBy, loadCollections, update, withDefaults } = module;
  const { Collection } = await import('/collection.js');
  await loadCollections();
  const plain = (value) => JSON.parse(JSON.stringify(value));
  const entries = (state) => Object.entries(state).map(([key, value]) => {
    return value instanceof Collection ? [key, [...value]] : [key, value];
  });
  const shape = { defaults: { count: 0 }, collections: ['notes'] };
  const shown = (replica) => withDefaults(shape, replica);
  const sameOutside = (before, after, changed) => Object.keys(after).every((key) => {
    if (!changed.includes(key)) return before[key] === after[key];
    if (!(before[key] instanceof Collection && after[key] instanceof Collection)) return true;
    return [...after[key]].every(([id, item]) => {
      return changed.includes(`${key}/${id}`) || before[key].get(id) === item;
    });
  });
  return JSON.parse(text).map((commits) => {
    let replica = changesBy(UNKNOWN, [0, 'a', 0, Uint8Array.of(0), {}]);
    let state = update(NOTHING, shown(replica))[0];
    return commits.map(([set, deleted, all], version) => {
      const tags = [Uint8Array.of(version), Uint8Array.of(version + 1)];
      replica = changesBy(replica, [1, 'a', version, ...tags, plain(set), deleted]);
      const whole = changesBy(UNKNOWN, [0, 'a', version, tags[1], plain(all)]);
      const before = state;
      const [after, changed] = update(before, shown(replica));
      const equal = JSON.stringify(entries(shown(whole))) === JSON.stringify(entries(after));
      state = update(after, shown(whole))[0];
      const shared = state === after && sameOutside(before, after, changed);
      // As a view does when nothing is pending, or else does not.
      if (version % 2) replica.collections = adopt(replica.collections, state);
      return [entries(after), equal, changed, shared];
    });
  });
}"""
# Each case is a list of edits of a draft, with a collection made of it after some of them. What
# comes back for each edit are the ids, and for each collection also which ids and leaves are said
# to differ from the one before.
EDIT = """async (text) => {
  const { Collection, Draft, leavesOf, share } = await import('/collection.js');
  const { equal, freeze } = await import('/values.js');
  return JSON.parse(text).map(([ids, edits]) => {
    const entries = ids.map((id) => [id, { of: id }]);
    let before = freeze(new Collection(leavesOf(entries)));
    let draft = new Draft(before.leaves);
    return edits.map(([id, value, kept]) => {
      const had = draft.has(id);
      const done = value === null ? draft.delete(id) : draft.set(id, { of: value }) === draft;
      const right = done && draft.get(id)?.of === (value ?? undefined);
      if (!kept) return [[...draft.keys()], right || !had, draft.size];
      const made = freeze(new Collection(draft.leaves));
      const [shown, changed] = share(before, made, equal);
      const after = freeze(shown);
      const known = new Set(before.leaves);
      const fresh = after.leaves.filter((leaf) => !known.has(leaf)).length;
      const same = [...after].every(([id, item]) => {
        return changed.includes(id) || item === before.get(id);
      });
      const frozen = [...after].every((each) => Object.isFrozen(each) && Object.isFrozen(each[1]));
      const lengths = after.leaves.every(({ length }) => length > 0 && length <= 64);
      before = after;
      draft = new Draft(after.leaves);
      const seen = [[...after.keys()], right || !had, after.size];
      return [...seen, changed, fresh, same && frozen && lengths];
    });
  });
}"""
ORDER = """async (cases) => {
  const { Collection, Draft, leavesOf } = await import('/collection.js');
  return cases.map((ids) => {
    const draft = new Draft([]);
    for (const id of ids) draft.set(id, 1);
    return [...new Collection(leavesOf(ids.map((id) => [id, 1]))).keys(), ...draft.keys()];
  });
}"""

ids = st.text(min_size=1, max_size=3) | st.sampled_from(
    ["a", "b/c", "__proto__", "\uffff", "\U0001f642"]
)
keys = (
    st.sampled_from(["count", "title", "__proto__", "$schema"])
    | ids.map("notes/{}".format)
    | ids.map("log/{}".format)
    | ids.map("$visits/{}".format)
)
values = st.integers(0, 2) | st.fixed_dictionaries({"text": st.sampled_from(["", "x"])})
commits = st.tuples(st.dictionaries(keys, values, max_size=4), st.sets(keys, max_size=3))
thorough = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page that has nothing but the modules of the client."""
    page = browser.new_page()

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name.endswith(".js"):
            route.fulfill(path=APP / "gospa/client" / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page.route("**/*", answer)
    page.goto("http://client.test/")
    yield page
    page.close()


def nested(stored: dict[str, Any]) -> dict[str, Any]:
    """What is shown of these keys: fields over defaults, and collections in order of their ids."""
    state: dict[str, Any] = {"count": 0, "notes": {}}
    for key in sorted(stored):
        name, slash, item = key.partition("/")
        if not key.startswith("$"):
            if slash:
                state.setdefault(name, {})[item] = stored[key]
            else:
                state[key] = stored[key]
    return state


def items(value: Any) -> Any:
    """A collection as pairs; anything else as it is."""
    nested = isinstance(value, dict) and "text" not in value
    return [list(pair) for pair in value.items()] if nested else value


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The keys that changed, of fields, collections and items."""
    found = {key for key in before | after if before.get(key) != after.get(key)}
    for name in ("notes", "log"):
        old, new = before.get(name, {}), after.get(name, {})
        found |= {f"{name}/{item}" for item in old | new if old.get(item) != new.get(item)}
    return found


@thorough
@given(cases=st.lists(st.lists(commits, max_size=5), min_size=1, max_size=10))
def test_any_commits_give_the_state_of_their_keys_and_share_what_did_not_change(
    page: Page, cases: list[list[tuple[dict[str, Any], set[str]]]]
) -> None:
    asked: list[list[tuple[dict[str, Any], list[str], dict[str, Any]]]] = []
    for case in cases:
        stored: dict[str, Any] = {}
        asked.append([])
        for changed, deleted in case:
            gone = sorted(deleted - changed.keys())
            stored = {key: value for key, value in (stored | changed).items() if key not in gone}
            asked[-1].append((changed, gone, stored))
    for steps, returned in zip(asked, page.evaluate(REPLAY, json.dumps(asked)), strict=True):
        before = nested({})
        for (_, _, stored), (state, equal, told, shared) in zip(steps, returned, strict=True):
            after = nested(stored)
            expected = {key: items(value) for key, value in after.items()}
            assert {key: items(value) for key, value in state} == expected
            assert set(told) == changes(before, after)
            assert equal
            assert shared
            before = after


@thorough
@given(cases=st.lists(st.sets(ids), max_size=20))
def test_items_are_ordered_by_code_points_as_in_python(page: Page, cases: list[set[str]]) -> None:
    found = page.evaluate(ORDER, [list(case) for case in cases])
    assert found == [[*sorted(case), *sorted(case)] for case in cases]


@thorough
@given(
    cases=st.lists(
        st.tuples(
            st.integers(0, 400).map(lambda count: [f"{at:03}" for at in range(count)]),
            st.lists(
                st.tuples(
                    st.integers(0, 450).map("{:03}".format) | ids,
                    st.none() | st.integers(0, 2),
                    st.booleans(),
                ),
                max_size=30,
            ),
        ),
        max_size=5,
    )
)
def test_edits_share_all_leaves_but_those_that_they_touch(page: Page, cases: list[Any]) -> None:
    for (start, edits), returned in zip(cases, page.evaluate(EDIT, json.dumps(cases)), strict=True):
        held: dict[str, Any] = {key: key for key in start}
        before, touched = dict(held), 0
        for (key, value, kept), seen in zip(edits, returned, strict=True):
            touched += 1
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
            assert seen[:3] == [sorted(held), True, len(held)]
            if kept:
                _, _, _, changed, fresh, right = seen
                assert set(changed) == {
                    one for one in held | before if held.get(one) != before.get(one)
                }
                assert fresh <= 2 * touched  # a leaf that grew too long is divided
                assert right
                before, touched = dict(held), 0


def test_a_collection_has_the_methods_of_a_map_and_cannot_be_changed(page: Page) -> None:
    seen = page.evaluate("""async () => {
      'use strict';
      const { Collection, leavesOf } = await import('/collection.js');
      const { freeze } = await import('/values.js');
      const entries = [['b', { tags: [1] }], ['a', 2], ['__proto__', 3]];
      const notes = freeze(new Collection(leavesOf(entries)));
      const thrown = (work) => { try { work(); } catch (error) { return error.name; } };
      const errors = [
        () => notes.set('c', 1), () => notes.delete('a'), () => notes.clear(),
        () => { notes.own = 1; }, () => notes.get('b').tags.push(2),
        () => { for (const entry of notes) entry[1] = 4; },
      ].map(thrown);
      const each = [];
      notes.forEach((item, id) => each.push(id));
      return {
        errors, each, size: notes.size, spread: [...notes.values()], has: notes.has('a'),
        none: [notes.has('c'), notes.get('c')],
        copy: [...new Map(notes).keys()], json: JSON.stringify({ notes }),
      };
    }""")
    assert seen == {
        "errors": ["TypeError"] * 6,
        "each": ["__proto__", "a", "b"],
        "size": 3,
        "spread": [3, 2, {"tags": [1]}],
        "has": True,
        "none": [False, None],
        "copy": ["__proto__", "a", "b"],
        "json": '{"notes":{"__proto__":3,"a":2,"b":{"tags":[1]}}}',
    }


def test_a_draft_copies_only_what_is_changed(page: Page) -> None:
    seen = page.evaluate("""async () => {
      const { Collection, EMPTY, draftOf, leavesOf, seal } = await import('/collection.js');
      const { freeze } = await import('/values.js');
      const notes = new Collection(leavesOf([['b', {}]]));
      const state = Object.freeze({ count: 1, notes, log: notes, people: EMPTY });
      const draft = draftOf(state);
      draft.count += 1;
      draft.notes.set('a', {});
      draft.log.delete('none');
      draft.people = new Map([['x', 1]]);
      const next = freeze(seal(draft, state));
      const cleared = draftOf(next);
      for (const id of cleared.notes.keys()) cleared.notes.delete(id);
      return {
        next: JSON.stringify(next),
        kept: next.log === state.log && next.notes.get('b') === state.notes.get('b'),
        before: [state.count, state.notes.size, state.people.size],
        frozen: Object.isFrozen(next) && Object.isFrozen(next.notes.get('a')),
        readOnly: next.people instanceof Collection,
        cleared: cleared.notes.size,
      };
    }""")
    assert seen == {
        "next": '{"count":2,"notes":{"a":{},"b":{}},"log":{"b":{}},"people":{"x":1}}',
        "kept": True,
        "before": [1, 1, 0],
        "frozen": True,
        "readOnly": True,
        "cleared": 0,
    }
