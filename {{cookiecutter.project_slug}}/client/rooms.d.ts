// Made from the classes in rooms/ by `make types`: do not edit it. docs/types.md says more.
//
// It adds the application's rooms to the interface GospaRooms, where the client looks names up:
// `connect().room('board/x')` has the types of Board without an import. A name of the type
// string, such as one made while the page runs, gives an untyped room. A script may name types:
// /** @typedef {import('./rooms.js').Board} Board */

export interface Guest {
  readonly name?: string;
  readonly note?: string;
  readonly turn?: number | bigint;
  readonly left?: number | bigint;
}

export interface Note {
  readonly text: string;
  readonly color?: number;
  readonly by?: string;
}

export interface BoardState {
  readonly count: number;
  readonly guest: Guest | null;
  readonly notes: ReadonlyMap<string, Note>;
}

export interface Place {
  readonly note: string;
  readonly x: number;
  readonly y: number;
}

export interface Board {
  state: BoardState;
  writes: never;
  actions: {
    add: [args: { amount?: number }, result: number];
    add_note: [args: { text: string; color?: number; by?: string; id?: string | null }, result: string];
    edit_note: [args: { id: string; text: string }, result: null];
    invite: [args: Record<string, never>, result: null];
    remove_note: [args: { id: string }, result: null];
  };
  commands: {};
  events: {
    pointing: Place;
    typing: string;
  };
  sends: 'pointing' | 'typing';
  presence: true;
}

export interface Line {
  readonly by: string | null;
  readonly text: string;
}

export interface LoungeState {
  readonly said: ReadonlyMap<string, Line>;
}

export interface Lounge {
  state: LoungeState;
  writes: never;
  actions: {
    say: [args: { text: string }, result: null];
  };
  commands: {};
  events: {};
  sends: never;
  presence: false;
}

export interface MyState {
  readonly note: string;
  readonly name: string;
}

export interface Me {
  state: MyState;
  writes: 'note' | 'name';
  actions: {};
  commands: {};
  events: {};
  sends: never;
  presence: false;
}

declare global {
  interface GospaRooms {
    'board/<name>': Board;
    lounge: Lounge;
    me: Me;
  }
}
