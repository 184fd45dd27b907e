// Tells the service what was seen and what was opened, where it keeps a log of that. Only ids of answers and items are
// sent, nothing of the person.

const WAIT = 1000; // ms in which events gather into one request
let waiting = [];
let timer = 0;
let kept = false; // whether the service keeps events
let watching = null;
const reported = new Set();

/** Only a service that keeps events is sent any. */
export function begin(info) {
  kept = info.events;
}

function report(event) {
  const name = `${event.query_id} ${event.item} ${event.event}`;
  if (!kept || reported.has(name)) return;
  reported.add(name);
  waiting.push(event);
  clearTimeout(timer);
  timer = setTimeout(send, WAIT);
}

async function send() {
  clearTimeout(timer);
  const events = waiting.splice(0, 200);
  if (!events.length) return;
  try {
    await fetch("/events", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ events }) });
  } catch {
    // what was seen matters less than what is searched next
  }
}

/** Counts results as seen once half of a picture has been on the screen; gives what to call for one that is opened. */
export function watch(stage, answers) {
  watching?.disconnect();
  const of = new Map(answers.flatMap((answer) => answer.hits.map((hit, place) => [`${answer.arm} ${hit.id}`, { query_id: answer.query_id, item: hit.id, position: place + 1 }])));
  watching = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((one) => one.isIntersecting)) {
      watching.unobserve(target);
      const event = of.get(target.dataset.place);
      if (event) report({ ...event, event: "impression" });
    }
  }, { threshold: 0.5 });
  for (const shot of stage.querySelectorAll("[data-place]")) watching.observe(shot);
  return (arm, id) => {
    const event = of.get(`${arm} ${id}`);
    if (event) report({ ...event, event: "click" });
  };
}

addEventListener("pagehide", send);
