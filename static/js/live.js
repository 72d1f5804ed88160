// The "live" mark: how old the page is.  A tenant's page has a socket, which the socket extension opens,
// closes and reopens; while it is gone, this asks by HTTP.  A page of the server's (for staff) is asked
// for anew all the time.  What is on the screen stays until there is something to put in its place.

import { spanText } from "./times.js";

const mark = document.getElementById("live-mark");
const holder = document.getElementById("live");
const content = document.getElementById("content");
const banner = document.getElementById("live-banner");
const polled = content?.dataset.pollS;
const POLL_MS = polled ? polled * 1000 : 3000;
const PATIENCE_MS = 5000;
const STALE_MS = 8000;

if (mark && (holder || polled)) {
  let state = "connecting";
  let heard = Date.now();
  let refused = 0;
  let poller = null;
  let asking = false;
  let gone = false;

  const show = () => {
    const seconds = (Date.now() - heard) / 1000;
    const age = spanText(seconds);
    const stale = state === "live" && seconds * 1000 > STALE_MS;
    const shown = stale ? "lost" : state;
    mark.dataset.state = shown;
    const words = {
      live: seconds < 3 ? "Live" : `Live · ${age}`,
      polling: `Polling · ${age}`,
      lost: `Offline · ${age}`,
      connecting: seconds < 3 ? "Connecting" : `Connecting · ${age}`,
    };
    if (mark.textContent !== words[shown]) mark.textContent = words[shown];
    const silent = refused ? `The server answers with an error (${refused}).` : "The server does not answer.";
    const trouble =
      shown === "lost"
        ? `${silent} What you see is ${age} old; trying again.`
        : shown === "polling"
          ? "Live updates are interrupted. Asking every few seconds instead."
          : "";
    banner.hidden = !trouble;
    const text = banner.querySelector("[data-text]");
    if (text.textContent !== trouble) text.textContent = trouble;
  };

  const fresh = (as) => {
    heard = Date.now();
    state = as;
    refused = 0;
    show();
  };

  const takeSections = async (text) => {
    await htmx.swap({ sourceElement: holder, target: holder, swap: "none", text });
    if (state !== "live") fresh("polling");
  };

  const takePage = async (text) => {
    const found = new DOMParser().parseFromString(text, "text/html").getElementById("content");
    if (!found?.dataset.pollS) throw new Error("another page");
    await htmx.swap({ sourceElement: content, target: content, swap: "innerMorph", text: found.innerHTML });
    fresh("live");
  };

  const poll = async () => {
    if (document.hidden || gone || asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, {
        headers: holder ? { "X-Live": "1" } : {},
        redirect: "manual",
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      // signed out: the way in
      if (answer.type === "opaqueredirect") return location.reload();
      refused = answer.ok ? 0 : answer.status;
      if (!answer.ok) throw new Error(String(answer.status));
      await (holder ? takeSections : takePage)(await answer.text());
    } catch (error) {
      if (error.name === "TimeoutError" || error instanceof TypeError) refused = 0;
      if (holder && state === "live") return;
      state = "lost";
      show();
    } finally {
      asking = false;
    }
  };

  const startPolling = () => {
    if (poller === null && !gone) poller = setInterval(poll, POLL_MS);
  };

  const stopPolling = () => {
    clearInterval(poller);
    poller = null;
  };

  const askIfSilent = () => {
    setTimeout(() => {
      if (state !== "connecting" || document.hidden) return;
      poll();
      startPolling();
    }, STALE_MS);
  };

  // the connection alone says nothing: the snapshot that comes first does
  document.addEventListener("htmx:after:ws:message", () => {
    stopPolling();
    fresh("live");
  });
  document.addEventListener("htmx:ws:close", (event) => {
    const { code, reason } = event.detail;
    if (code === 4401 || code === 4404) location.reload();
    if (document.hidden || reason === "removed") return;
    if (state === "live") {
      state = "lost";
      poll();
    }
    startPolling();
    show();
  });
  window.addEventListener("pagehide", () => (gone = true));
  window.addEventListener("pageshow", () => (gone = false));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    // what is there may be hours old: it is live again when something new has come
    if (state === "live") state = "connecting";
    show();
    if (polled) poll();
    else askIfSilent();
  });
  if (polled) {
    fresh("live");
    startPolling();
  } else {
    askIfSilent();
  }
  setInterval(show, 1000);
}
