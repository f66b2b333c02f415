/** The types of what pages import from `/gospa/gospa.js`: its reference, and TypeScript's. */

declare global {
  /**
   * The application's rooms by pattern. `client/rooms.d.ts`, which `make types` writes, adds them;
   * without it all rooms are untyped.
   */
  interface GospaRooms {}
}

/**
 * Where there is no WebSocket, or no page that `url` is relative to, as when a server renders a page,
 * the client stays `connecting` and its rooms empty.
 * @param url `/ws` of the application by default, wherever it is served; a path is one of it
 */
export function connect(url?: string | URL, options?: Options): Client;

/**
 * Fill the elements with `data-room` and follow them: `data-bind`, `data-call` and `data-each`. The
 * module for it is loaded when this is called.
 */
export function bind(client: Client, root?: ParentNode): Promise<void>;

export interface Options {
  /**
   * Keep pending requests when the page is hidden, left or closed. The browser's next page with
   * this option sends them, if it has the same session. Use it for one client of a page.
   */
  persist?: boolean;
  /** The class to connect with, where there is none or it cannot send a cookie or token. */
  WebSocket?: typeof globalThis.WebSocket;
}

/** A page's rooms, and the one connection that they share. */
export class Client extends EventTarget {
  constructor(url?: string | URL, options?: Options);
  readonly status: Status;
  /**
   * The reason of the status `closed`, `unauthorized` or `outdated`, which are final, or why the
   * client is `online` without a WebSocket; else ''.
   */
  readonly why: string;
  /** Why there is no connection, as far as it is known, or what is wrong with it; else ''. */
  readonly trouble: string;
  /** What the server sent about itself at the last connection. */
  readonly server: Readonly<Record<string, any>> | null;
  /** The member id under which others see this page. */
  readonly member: string | null;
  readonly session: { readonly id: string; readonly user: string | null } | null;
  /** The number of requests without an answer. */
  readonly pending: number;

  /**
   * The room of that name, the same object at each call until it is left as often. It is joined once
   * connected. A name of the type `string` gives an untyped room.
   */
  room<Name extends string>(name: RoomName<Name>, details?: unknown): Room<Typed<Name>>;
  /** Measure the round trip to the server; a `latency` event follows. */
  ping(): void;
  /** Connect now instead of after the wait; while connected, check the connection. */
  retry(): void;
  /** Disconnect for good. */
  close(): void;
  /** Emit `error`, or log to the console if nothing listens. */
  report(error: Error): void;

  /** @returns stops listening */
  on(event: 'status', listener: (status: Status, why: string) => void): () => void;
  /** `trouble` changed. */
  on(event: 'trouble', listener: (trouble: string) => void): () => void;
  /**
   * The server has another release than the page: show a hint, or reload the page. Emitted again
   * every 30 s as long as they differ, so that a reload in the middle of a deploy does no harm.
   */
  on(event: 'release', listener: (release: string) => void): () => void;
  on(event: 'welcome', listener: (server: Readonly<Record<string, any>>) => void): () => void;
  on(event: 'latency', listener: (milliseconds: number) => void): () => void;
  on(event: 'pending', listener: (count: number) => void): () => void;
  /**
   * A join or an event that was refused, or an error in `bind` or of the connection. What the
   * server refused is a RoomError: after `error instanceof RoomError`, see `code` and `room`.
   */
  on(event: 'error', listener: (error: Error) => void): () => void;
}

export type Status = 'connecting' | 'online' | 'offline' | 'closed' | 'unauthorized' | 'outdated';

/** A joined room: its state, requests and events. `Room` without a type is an untyped one. */
export class Room<T extends RoomTypes = any> extends EventTarget {
  private constructor();
  readonly name: string;
  /** What the server allows here; null until it is known. */
  readonly access: 'read' | 'full' | null;
  /** `joining`, `joined`, or the code of the error for which the room is not joined. */
  readonly status: string;
  /** Requests without an answer, oldest first. */
  readonly pending: readonly object[];

  /**
   * The confirmed state with the effects of pending mutations: a new object after each change,
   * deeply frozen. It is empty until the room is joined, and after access or the session was lost.
   */
  readonly state: T['state'] | Empty<T['state']>;
  /**
   * Call `listener` when the state is known (at once, if it is), and after each change, with the
   * names of fields and collections that changed, and `<collection>/<id>` for each item. After access
   * was lost (see `$status`), or the session changed, as at a log-in, the state has no fields.
   * @returns stops listening
   */
  subscribe(listener: (state: T['state'], changed: string[]) => void): () => void;
  /**
   * Call `listener` with a part of the state when it is known, and when it is another value: what
   * did not change keeps its identity. `pick` must not make a new object each time.
   * @returns stops listening
   */
  select<Part>(
    pick: (state: T['state'] | Empty<T['state']>) => Part,
    listener: (part: Part) => void,
  ): () => void;

  /**
   * Call an action, which the server runs exactly once. Its result is null if the answer to the
   * first try was lost; it may arrive before `state` shows the change. Rejected with a RoomError if
   * it is refused.
   */
  call<A extends keyof T['actions'] & string>(
    action: A,
    ...args: [...Arguments<T['actions'][A][0]>, waiting?: Waiting]
  ): Promise<T['actions'][A][1] | null>;
  /**
   * Run a command, which the server may run again if the connection breaks. Its result may arrive
   * before `state` shows what it changed.
   */
  run<C extends keyof T['commands'] & string>(
    command: C,
    ...args: [...Arguments<T['commands'][C][0]>, waiting?: Waiting]
  ): Promise<T['commands'][C][1]>;
  /** Set a field that the room lets members write. */
  set<F extends T['writes']>(
    field: F,
    value: T['state'][F & keyof T['state']],
    waiting?: Waiting,
  ): Promise<unknown>;
  /** Reset such a field to its default. */
  delete(field: T['writes'], waiting?: Waiting): Promise<unknown>;
  /**
   * Show an action's effect before the server has answered. `perform` changes a draft of the state,
   * whose collections have the methods of a Map, and runs again whenever the confirmed state changes.
   */
  optimistic<A extends keyof T['actions'] & string>(
    action: A,
    perform: (state: Draft<T['state']>, args: T['actions'][A][0]) => void,
  ): void;
  /** An id for a new item, after those that are known here. */
  newId(collection: Collections<T['state']>): string;

  /** Send an event to all current members, at most once. @returns whether it was sent */
  send<E extends T['sends']>(
    event: E,
    ...payload: Arguments<T['events'][E & keyof T['events']], null>
  ): boolean;
  /** `sender` is null for an event of the application. @returns stops listening */
  on<E extends keyof T['events'] & string>(
    event: E,
    listener: (payload: T['events'][E], sender: Sender | null) => void,
  ): () => void;
  on(event: '$status', listener: (status: string, error: RoomError | null) => void): () => void;

  /**
   * The room whose state lists this room's members. Joining it lists this page.
   * @param details shown to other members as `claims`; later ones replace them
   */
  members(details?: unknown): T['presence'] extends true ? Room<MembersRoom> : never;
  /**
   * Leave, also its list of members. The room is left when `leave` was called as often as
   * `client.room`. Pending requests are rejected as `left`; the server may have applied them.
   */
  leave(): void;
}

/** A request that was refused by the server, or by this client. */
export class RoomError extends Error {
  constructor(code: string, message: string, room: string | null);
  /**
   * One of docs/protocol.md, or of this client: `invalid`, `overflow`, `too_large`, `left`,
   * `other_session`, `closed`, `unauthorized`.
   */
  code: string;
  room: string | null;
  /** The action or command that was refused, if it was one. */
  action: string | null;
}

/** How long to wait for an answer. */
export interface Waiting {
  /**
   * Ends the wait: the promise is rejected with its reason. A request that was not sent yet is not
   * sent any more; what the server may have applied already is still shown, and confirmed later. For
   * a timeout pass `AbortSignal.timeout(5000)`.
   */
  signal?: AbortSignal;
}

/** Who sent an event. The server vouches for `user` and `info`. */
export interface Sender {
  readonly id: string;
  readonly user: string | null;
  readonly info: Readonly<Record<string, unknown>>;
}

/** A member in a list of members. Nobody has verified `claims`. */
export interface Person {
  readonly user: string | null;
  readonly info: Readonly<Record<string, unknown>>;
  readonly claims: unknown;
  readonly tabs: number;
}

export interface MembersRoom {
  state: { readonly count: number; readonly people: ReadonlyMap<string, Person> };
  writes: never;
  actions: {};
  commands: {};
  events: {};
  sends: never;
  presence: false;
}

// How rooms.d.ts describes a kind of room, and what is made of that

export interface RoomTypes {
  state: object;
  /** Fields that members may set. */
  writes: string;
  actions: Record<string, [args: any, result: any]>;
  commands: Record<string, [args: any, result: any]>;
  /** Payloads of events that members receive, and the names of those that they may send. */
  events: Record<string, any>;
  sends: string;
  presence: boolean;
}

/** The rooms of a name: the one that has it for its pattern, else those whose patterns match. */
export type RoomOf<Name extends string> = Name extends `${infer Listed}#members`
  ? Matching<Listed> extends { presence: true } ? MembersRoom : never
  : Name extends keyof GospaRooms
    ? GospaRooms[Name]
    : Matching<Name>;

type Matching<Name extends string> = {
  [Pattern in keyof GospaRooms]: Match<Name, Pattern> extends true ? GospaRooms[Pattern] : never;
}[keyof GospaRooms];

/** Parameters have no slashes, so a pattern and a name are compared part by part. */
type Match<Name, Pattern> = Pattern extends `${infer Part}/${infer Parts}`
  ? Name extends `${infer Given}/${infer Others}`
    ? Given extends Template<Part> ? Match<Others, Parts> : false
    : false
  : Name extends `${string}/${string}` ? false : Name extends Template<Pattern> ? true : false;

/** `poll/${string}` for `poll/<name>`. */
type Template<Pattern> = Pattern extends `${infer Before}<${string}>${infer After}`
  ? `${Before}${string}${Template<After>}`
  : Pattern;

/** A name that the application has, or any text that is only known while the page runs. */
type RoomName<Name extends string> = IsUntyped<Name> extends true
  ? Name
  : [RoomOf<Name>] extends [never]
    ? { [Pattern in keyof GospaRooms]: Pattern }[keyof GospaRooms] // as errors show it
    : Name;

type Typed<Name extends string> = IsUntyped<Name> extends true
  ? any
  : RoomOf<Name> extends infer Types extends RoomTypes ? Types : any;

type IsUntyped<Name extends string> = string extends Name
  ? true
  : [keyof GospaRooms] extends [never] ? true : false;

/** What `optimistic` changes. */
export type Draft<State> = {
  -readonly [Name in keyof State]: State[Name] extends ReadonlyMap<string, infer Item>
    ? Map<string, Item>
    : State[Name];
};

type Empty<State> = { readonly [Name in keyof State]?: undefined };

type Collections<State> = {
  [Name in keyof State & string]: State[Name] extends ReadonlyMap<string, any> ? Name : never;
}[keyof State & string];

/** May be left out if `None`, by default an object without properties, would do. */
type Arguments<Given, None = {}> = None extends Given ? [given?: Given] : [given: Given];
