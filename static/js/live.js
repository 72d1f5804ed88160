// The "live" mark.  The socket extension opens, closes and reopens the page's one socket; this says
// how old the page is, says when the socket is gone, and asks by HTTP until it is back.

const mark = document.getElementById("live-mark");
const holder = document.getElementById("live");
const banner = document.getElementById("live-banner");
const POLL_MS = 3000;
const STALE_MS = 8000;

if (mark && holder) {
  let state = "connecting";
  let heard = Date.now();
  let poller = null;
  let gone = false;

  const show = () => {
    const age = Math.floor((Date.now() - heard) / 1000);
    const stale = state === "live" && Date.now() - heard > STALE_MS;
    const shown = stale ? "lost" : state;
    mark.dataset.state = shown;
    const words = {
      live: age < 3 ? "Live" : `Live · ${age} s`,
      polling: `Polling · ${age} s`,
      lost: `Offline · ${age} s`,
      connecting: "Connecting",
    };
    if (mark.textContent !== words[shown]) mark.textContent = words[shown];
    const trouble =
      shown === "lost"
        ? `The server does not answer. What you see is ${age} s old; trying again.`
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
    show();
  };

  const poll = async () => {
    if (document.hidden || gone) return;
    try {
      const answer = await fetch(location.href, {
        headers: { "X-Live": "1" },
        redirect: "manual",
        cache: "no-store",
        signal: AbortSignal.timeout(POLL_MS),
      });
      if (!answer.ok) throw new Error(String(answer.status));
      await htmx.swap({ sourceElement: holder, target: holder, swap: "none", text: await answer.text() });
      if (state !== "live") fresh("polling");
    } catch {
      if (state !== "live") {
        state = "lost";
        show();
      }
    }
  };

  const startPolling = () => {
    if (poller === null && !gone) poller = setInterval(poll, POLL_MS);
  };

  document.addEventListener("htmx:after:ws:connection", () => {
    clearInterval(poller);
    poller = null;
    fresh("live");
  });
  document.addEventListener("htmx:after:ws:message", () => fresh("live"));
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
  setTimeout(() => {
    if (state !== "connecting") return;
    poll();
    startPolling();
  }, STALE_MS);
  window.addEventListener("pagehide", () => (gone = true));
  window.addEventListener("pageshow", () => (gone = false));
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) heard = Math.max(heard, Date.now() - 1000);
  });
  setInterval(show, 1000);
}
