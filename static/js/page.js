// What every page does: copying, the theme switch, dialogs, forms.

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

// ---- the address of this server ----

function tellOrigin() {
  for (const element of document.querySelectorAll("[data-origin]")) {
    if (element.textContent !== location.origin) element.textContent = location.origin;
  }
}

tellOrigin();
document.addEventListener("htmx:after:swap", tellOrigin);

// ---- copying ----

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  event.preventDefault();
  if (!navigator.clipboard) return mark(button);
  await navigator.clipboard.writeText(button.dataset.copy);
  button.dataset.copied = "";
  say("Copied");
  setTimeout(() => delete button.dataset.copied, 1200);
});

// over plain HTTP a page may not write to the clipboard: the text is marked, ready to be copied
function mark(button) {
  const text = document.createElement("textarea");
  text.className = "input mono";
  text.rows = 1;
  text.value = button.dataset.copy;
  text.readOnly = true;
  text.setAttribute("aria-label", "Press Ctrl-C to copy");
  text.title = "Press Ctrl-C to copy";
  button.after(text);
  text.focus();
  text.select();
  text.addEventListener("blur", () => text.remove());
  say("Marked: press Ctrl-C to copy");
}

function say(text) {
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

// what was typed and refused is there to be mended
document.querySelector("dialog[data-shown]")?.showModal();

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

// ---- what htmx asks for and does not get: what stands there is of before, and is marked so ----

function failed(event, is) {
  event.target.closest(".panel")?.toggleAttribute("data-failed", is);
}

document.addEventListener("htmx:before:request", (event) => failed(event, false));
document.addEventListener("htmx:response:error", (event) => failed(event, true));
document.addEventListener("htmx:error", (event) => {
  // one that gave way to a newer one has not failed
  if (event.detail.error?.name !== "AbortError") failed(event, true);
});

// ---- a form is sent once: who presses twice means once ----

const AGAIN_MS = 5000;
const sentAt = new WeakMap();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (Date.now() - (sentAt.get(form) ?? 0) < AGAIN_MS) event.preventDefault();
  else sentAt.set(form, Date.now());
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) sentAt.delete(form);
});
