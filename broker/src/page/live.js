// Puts newer parts of a page in the place of older ones, as the broker sends them. The page is whole without it.
"use strict";

(() => {
  // One box for all of a list.
  for (const all of document.querySelectorAll("input[data-all]")) {
    const boxes = () => all.form.querySelectorAll(`input[type=checkbox][name="${all.dataset.all}"]`);
    all.closest("label").hidden = false;
    all.addEventListener("change", () => boxes().forEach((box) => { box.checked = all.checked; }));
    all.form.addEventListener("change", () => { all.checked = [...boxes()].every((box) => box.checked); });
  }

  const main = document.querySelector("main[data-live]");
  if (!main || !window.EventSource) return;
  const bar = main.querySelector(".live");
  const state = bar.querySelector("span");
  const button = bar.querySelector("button");
  bar.hidden = false;
  let stream = null;

  const say = (text, isLive) => {
    state.textContent = text;
    bar.classList.toggle("on", isLive);
  };

  // The reader keeps focus and place.
  const replace = (before, after) => {
    const active = before.contains(document.activeElement) ? document.activeElement : null;
    const places = [...before.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    const selector = active && (active.getAttribute("href") ? `[href="${CSS.escape(active.getAttribute("href"))}"]` : ".scroll");
    const number = active ? [...before.querySelectorAll(selector)].indexOf(active) : -1;
    before.replaceWith(after);
    after.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = places[index] || 0; });
    if (active) after.querySelectorAll(selector)[Math.max(number, 0)]?.focus({ preventScroll: true });
  };

  const isRead = (part) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.intersectsNode?.(part);
  };

  const show = (message) => {
    // Parsed as a document of its own: nothing in it runs.
    const parts = new DOMParser().parseFromString(message.data, "text/html").body.children;
    for (const part of [...parts]) {
      const before = part.id && document.getElementById(part.id);
      if (before && before.outerHTML !== part.outerHTML && !isRead(before)) replace(before, part);
    }
    say("Live", true);
  };

  const start = () => {
    button.textContent = "Pause";
    say("Connecting…", false);
    stream = new EventSource(main.dataset.live);
    stream.addEventListener("parts", show);
    stream.onerror = () => {
      const isOver = stream.readyState === EventSource.CLOSED;
      say(isOver ? "Not live" : "Connecting…", false);
      if (isOver) button.textContent = "Try again";
    };
  };
  const stop = () => {
    stream.close();
    stream = null;
    button.textContent = "Go on";
    say("Paused", false);
  };
  button.addEventListener("click", () => {
    if (stream && stream.readyState !== EventSource.CLOSED) stop();
    else start();
  });
  start();
})();
