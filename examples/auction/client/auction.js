/** The page of an auction, which the address names: /#lamp. */

import { RoomError, connect } from '/gospa/gospa.js';
import { element, report, say } from './page.js';

const client = connect('/ws', { persist: true });
const auction = client.room(`auction/${location.hash.slice(1) || 'lobby'}`);
const inbox = client.room('inbox');
client.on('error', (error) => {
  if (error instanceof RoomError && error.room === inbox.name) return; // a visitor has none
  report(error);
});
inbox.on('notice', (text) => say(text));
addEventListener('hashchange', () => location.reload());

auction.subscribe(({ item, highest, bidder, closes_at, closed, paid, bids, chat }) => {
  if (auction.access === null) return; // after a log-in, until the state is known again
  const until = new Date(closes_at * 1000).toLocaleTimeString();
  const end = paid ? 'sold and paid' : closed ? 'closed' : `open until ${until}`;
  element('item', HTMLElement).textContent = item;
  element('standing', HTMLElement).textContent = `${bidder ?? 'nobody'}: ${highest}, ${end}`;
  list('bids', [...bids.values()].reverse().map(({ bidder, amount }) => `${bidder}: ${amount}`));
  list('chat', [...chat.values()].map(({ by, text }) => `${by}: ${text}`));
});

auction.members().subscribe(({ people = new Map() }) => {
  const names = [...people.values()].map(({ user }) => user ?? 'a visitor');
  element('here', HTMLElement).textContent = names.join(', ');
});

on('bid', ({ amount }) => auction.run('bid', { amount: Number(amount) }));
on('say', ({ text }) => auction.call('say', { text }));

/** @param {string} id @param {string[]} texts */
function list(id, texts) {
  const items = texts.map((text) => Object.assign(document.createElement('li'), { textContent: text }));
  element(id, HTMLElement).replaceChildren(...items);
}

/** @param {string} id @param {(fields: any) => Promise<any>} perform */
function on(id, perform) {
  const form = element(id, HTMLFormElement);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    perform(Object.fromEntries(new FormData(form))).then(() => form.reset(), report);
  });
}
