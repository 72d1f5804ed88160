// Moments in words and in the reader's zone: what the server writes is UTC, and says so.

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const minutes = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short" });
const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});

export function spanText(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function agoText(seconds) {
  if (seconds < 0) return seconds > -1.5 ? "now" : `in ${spanText(-seconds)}`;
  if (seconds < 1.5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

// a time of day alone would be taken for today's
function timeText(at) {
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

const TEXTS = {
  since: (at, age) => spanText(age),
  time: timeText,
  at: (at) => minutes.format(at),
  ago: (at, age) => agoText(age),
};

function tellMoments() {
  for (const element of document.querySelectorAll("time[data-time]")) {
    const at = new Date(element.dateTime);
    const text = (TEXTS[element.dataset.time] ?? TEXTS.ago)(at, (Date.now() - at) / 1000);
    if (element.textContent !== text) element.textContent = text;
    const title = absolute.format(at);
    if (element.title !== title) element.title = title;
  }
}

// the axes of charts, and what strips say: `data-at` is seconds since 1970, `data-text` where it stands
function tellAxes() {
  for (const element of document.querySelectorAll("[data-at]")) {
    const at = new Date(element.dataset.at * 1000);
    const said = (element.dataset.form === "day" ? day : hour).format(at);
    const text = (element.dataset.text ?? "{}").replace("{}", () => said);
    if (element.textContent !== text) element.textContent = text;
  }
}

tellMoments();
tellAxes();
setInterval(tellMoments, 1000);
document.addEventListener("htmx:after:swap", () => {
  tellMoments();
  tellAxes();
});
