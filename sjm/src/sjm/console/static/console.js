// What the pages need beyond HTML: parts that stay fresh, dialogs, the zone and the theme. Without it, all
// pages can be read and every form works.
"use strict";
(() => {
  const YEAR = 31536000;
  const remember = (name, value) => {
    document.cookie = `${name}=${value}; Path=/; Max-Age=${YEAR}; SameSite=Strict`;
  };
  const recall = (name) => {
    const found = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
    return found && found.slice(name.length + 1);
  };

  // The zone in which times are shown. It is known from the second page on; the first is loaded again, if
  // this machine's zone is another.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  if (/^[A-Za-z0-9_+\-/]{1,64}$/.test(zone) && recall("sjm-zone") !== zone) {
    remember("sjm-zone", zone);
    const shown = document.documentElement.dataset.offset;
    if (recall("sjm-zone") === zone && shown !== String(-new Date().getTimezoneOffset())) location.reload();
  }

  // The theme: as the system has it, light, or dark.
  const themes = ["auto", "light", "dark"];
  const button = document.querySelector("[data-theme-switch]");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const root = document.documentElement;
      const next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
      root.dataset.theme = next;
      button.querySelector("[data-theme-name]").textContent = next;
      remember("sjm-theme", next);
    });
  }

  // Times that say how far away they are. The words are those of words.py.
  const units = [[86400000, "d", 3600000, "h"], [3600000, "h", 60000, "min"], [60000, "min", 1000, "s"]];
  const duration = (ms) => {
    if (ms < 0) return "0 ms";
    if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
    if (ms < 60000) return `${Math.floor(ms / 1000)} s`;
    const [unit, name, smaller, smallerName] = units.find(([size]) => ms >= size);
    const rest = Math.floor((ms % unit) / smaller);
    return `${Math.floor(ms / unit)} ${name}` + (rest ? ` ${rest} ${smallerName}` : "");
  };
  const distance = (ms) => {
    const size = Math.abs(ms);
    if (size < 1000) return "now";
    const [unit, name] = [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]].find(([each]) => size >= each);
    const text = `${Math.floor(size / unit)} ${name}`;
    return ms > 0 ? `in ${text}` : `${text} ago`;
  };
  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const tick = () => {
    const now = Date.now();
    document.querySelectorAll("time[data-distance]").forEach((each) => write(each, distance(Number(each.dataset.ms) - now)));
    document.querySelectorAll("time[data-since]").forEach((each) => write(each, duration(now - Number(each.dataset.ms))));
  };

  // Live parts: <section data-live="5" hx-get="…" hx-trigger="refresh" hx-swap="outerHTML">. Each is asked
  // for again so many seconds after it came, while the page is visible, and ever later if nobody answers.
  const due = new WeakMap();
  let failures = 0;
  const connection = document.querySelector("[data-connection]");
  const delay = (element) => {
    const seconds = Number(element.dataset.live);
    return 1000 * (failures ? Math.min(120, seconds * 2 ** failures) : seconds);
  };
  const isBusy = (element) => {
    const chosen = document.getSelection();
    const selects = chosen && !chosen.isCollapsed && element.contains(chosen.anchorNode);
    const active = document.activeElement;
    return selects || (active && element.contains(active) && active.matches("input, textarea, select"));
  };
  const poll = () => {
    if (document.visibilityState !== "visible" || !window.htmx) return;
    const now = Date.now();
    document.querySelectorAll("[data-live]").forEach((element) => {
      if (!due.has(element)) due.set(element, now + delay(element));
      if (now >= due.get(element) && !isBusy(element)) {
        due.set(element, now + delay(element));
        window.htmx.trigger(element, "refresh");
      }
    });
  };
  const failed = (event) => {
    if (!event.target.closest || !event.target.closest("[data-live]")) return;
    failures += 1;
    const element = event.target.closest("[data-live]");
    due.set(element, Date.now() + delay(element));
    const status = event.detail.xhr ? event.detail.xhr.status : 0;
    write(connection, status === 401 || status === 421
      ? "The console was started again. Open the URL that it printed."
      : `The console does not answer. Is it still running? It is asked again in ${Math.round(delay(element) / 1000)} s.`);
    document.querySelectorAll(".fresh").forEach((each) => each.classList.add("stale"));
  };
  document.addEventListener("htmx:responseError", failed);
  document.addEventListener("htmx:sendError", failed);
  document.addEventListener("htmx:afterSwap", () => {
    failures = 0;
    if (connection) write(connection, "");
    tick();
  });
  // Some details may be open, and a box may be scrolled. They stay so when their part is replaced.
  let open = new Set();
  let scrolled = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    open = new Set([...event.detail.target.querySelectorAll("details[open][id]")].map((each) => each.id));
    scrolled = [...event.detail.target.querySelectorAll("[data-scrolls]")].map((each) => [each.id, each.scrollLeft, each.scrollTop]);
  });
  document.addEventListener("htmx:afterSwap", () => {
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    scrolled.forEach(([id, left, top]) => document.getElementById(id)?.scrollTo(left, top));
  });
  // What a box shows first is not always its beginning.
  document.querySelectorAll("[data-scrolls]").forEach((each) => each.scrollTo(
    Number(each.dataset.x) - each.clientWidth / 2, Number(each.dataset.y) - each.clientHeight / 2));
  document.addEventListener("visibilitychange", () => { tick(); poll(); });
  setInterval(() => { if (document.visibilityState === "visible") { tick(); poll(); } }, 1000);

  // Confirmations: a link with data-dialog opens its page as a dialog.
  const dialog = document.getElementById("dialog");
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    try {
      await window.htmx.ajax("GET", link.href, { target: dialog, swap: "innerHTML" });
      dialog.showModal();
      const first = dialog.querySelector("[autofocus], input:not([type=hidden]), textarea, button");
      if (first) first.focus();
    } catch { location.assign(link.href); }
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close]")) { event.preventDefault(); dialog.close(); }
  });
  // Nothing is sent twice.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    else if (event.target.method === "post") event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((each) => delete each.dataset.sent));
})();
