// What every page does: times in words, copying, the theme switch, dialogs, table rows.

const root = document.documentElement;
const storage = {
  set(key, value) {
    try {
      localStorage.setItem(key, value);
    } catch {
      // refused: the choice lasts for this page
    }
  },
};

// ---- times ----

const absolute = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "long",
});
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});

function spanText(seconds) {
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

function tellTimes(scope = document) {
  for (const element of scope.querySelectorAll("time[data-time]")) {
    const at = new Date(element.dateTime);
    const age = (Date.now() - at) / 1000;
    const kind = element.dataset.time;
    const text = kind === "since" ? spanText(age) : kind === "time" ? clock.format(at) : agoText(age);
    if (element.textContent !== text) element.textContent = text;
    const title = absolute.format(at);
    if (element.title !== title) element.title = title;
  }
}

function tellOrigin() {
  for (const element of document.querySelectorAll("[data-origin]")) {
    if (element.textContent !== location.origin) element.textContent = location.origin;
  }
}

tellTimes();
tellOrigin();
setInterval(tellTimes, 1000);
document.addEventListener("htmx:after:swap", () => {
  tellTimes();
  tellOrigin();
});

// ---- copying ----

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  event.preventDefault();
  await navigator.clipboard.writeText(button.dataset.copy);
  button.dataset.copied = "";
  say("Copied");
  setTimeout(() => delete button.dataset.copied, 1200);
});

export function say(text) {
  document.getElementById("said").textContent = text;
}

// ---- theme ----

document.getElementById("theme-switch")?.addEventListener("click", () => {
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  storage.set("theme", root.dataset.theme);
  say(`${root.dataset.theme} theme`);
});

// ---- dialogs ----

document.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-confirm]");
  if (asked) {
    event.preventDefault();
    document.getElementById(asked.dataset.confirm).showModal();
  }
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog")?.close();
  if (event.target instanceof HTMLDialogElement) event.target.close();
  for (const menu of document.querySelectorAll("details.tenant-switch[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.tenant-switch[open]")) menu.open = false;
});

// ---- filters send themselves ----

document.addEventListener("change", (event) => {
  if (event.target.matches("form[data-auto] select, form[data-auto] input")) {
    event.target.form.requestSubmit();
  }
});
