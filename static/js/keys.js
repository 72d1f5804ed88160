// The keyboard: `?` help, `/` search, `g` then a letter, `j`/`k`/Enter in lists, Ctrl-K palette.

const help = document.getElementById("shortcuts");
const palette = document.getElementById("palette");
let pending = null;

function typing(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

function rows() {
  return [...document.querySelectorAll("tr[data-href]")];
}

function move(by) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = Math.min(Math.max(now + by, 0), all.length - 1);
  for (const row of all) row.removeAttribute("aria-selected");
  all[next].setAttribute("aria-selected", "true");
  all[next].scrollIntoView({ block: "nearest" });
}

function go(letter) {
  document.querySelector(`[data-go="${CSS.escape(letter)}"]`)?.click();
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (pending) {
    clearTimeout(pending);
    pending = null;
    go(event.key);
    return;
  }
  switch (event.key) {
    case "?":
      help?.showModal();
      break;
    case "/": {
      const search = document.querySelector("[data-search]");
      if (!search) return openPalette(event);
      event.preventDefault();
      search.focus();
      search.select();
      break;
    }
    case "g":
      pending = setTimeout(() => (pending = null), 1000);
      break;
    case "j":
      move(1);
      break;
    case "k":
      move(-1);
      break;
    case "Enter": {
      if (event.target.closest("a, button, summary")) return;
      const row = document.querySelector('tr[data-href][aria-selected="true"]');
      if (row) location.assign(row.dataset.href);
      break;
    }
  }
});

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (!row || event.target.closest("a, button, input, summary")) return;
  if (String(getSelection())) return;
  if (event.ctrlKey || event.metaKey) window.open(row.dataset.href);
  else location.assign(row.dataset.href);
});

// ---- palette ----

const box = palette?.querySelector("input");
const list = palette?.querySelector("ul");
let choices = [];
let chosen = 0;

function openPalette(event) {
  if (!palette) return;
  event?.preventDefault?.();
  if (!palette.open) palette.showModal();
  box.value = "";
  fill();
}

function candidates() {
  const found = [...document.querySelectorAll("[data-palette]")].map((element) => ({
    text: element.dataset.palette,
    keys: element.dataset.go ? `g ${element.dataset.go}` : "",
    run: () => element.click(),
  }));
  const text = box.value.trim();
  const runs = document.querySelector('[data-go="r"]');
  if (text && runs) {
    found.push({
      text: `Find runs: ${text}`,
      keys: "",
      run: () => location.assign(`${runs.getAttribute("href")}?q=${encodeURIComponent(text)}`),
    });
  }
  return found;
}

function fill() {
  const words = box.value.trim().toLowerCase().split(/\s+/);
  choices = candidates().filter(
    (one) =>
      one.text.startsWith("Find runs") || words.every((word) => one.text.toLowerCase().includes(word)),
  );
  chosen = 0;
  list.replaceChildren(
    ...choices.map((one, nr) => {
      const item = document.createElement("li");
      item.setAttribute("role", "option");
      item.id = `choice-${nr}`;
      item.append(one.text);
      if (one.keys) {
        const keys = document.createElement("span");
        keys.className = "keys mono";
        keys.textContent = one.keys;
        item.append(keys);
      }
      item.addEventListener("click", () => pick(nr));
      return item;
    }),
  );
  mark();
}

function mark() {
  [...list.children].forEach((item, nr) => item.setAttribute("aria-selected", String(nr === chosen)));
  box.setAttribute("aria-activedescendant", choices.length ? `choice-${chosen}` : "");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

function pick(nr) {
  palette.close();
  choices[nr]?.run();
}

box?.addEventListener("input", fill);
box?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const by = event.key === "ArrowDown" ? 1 : -1;
    chosen = (chosen + by + choices.length) % Math.max(choices.length, 1);
    mark();
  } else if (event.key === "Enter") {
    event.preventDefault();
    pick(chosen);
  }
});
