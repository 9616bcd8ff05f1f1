// Puts the newest figures in place without loading the page anew, so that focus, scrolling and what is open stay as they are.
"use strict";

(() => {
  const main = document.getElementById("main");
  const lost = document.getElementById("lost");
  const seconds = Number(main && main.dataset.refresh);
  if (!seconds) return;

  let waiting = 0;

  const opened = (place) => [...place.querySelectorAll("details[open]")].map((one) => one.id);

  // The same node, if nothing in it has changed; so a reader is not thrown out of what it reads.
  const put = (old, fresh) => {
    if (!old || !fresh || old.outerHTML === fresh.outerHTML) return;
    const open = opened(old);
    const within = old.contains(document.activeElement);
    const place = within ? pathTo(old, document.activeElement) : null;
    const node = document.importNode(fresh, true);
    for (const id of open) {
      const found = node.querySelector("#" + CSS.escape(id));
      if (found) found.open = true;
    }
    if (node.outerHTML === old.outerHTML) return;
    old.replaceWith(node);
    if (place) {
      const again = follow(node, place);
      if (again && again.focus) again.focus({ preventScroll: true });
    }
  };

  // The focused element: by the id of what holds it, or else by its place.
  const pathTo = (top, element) => {
    const holder = element.closest("[id]");
    if (holder && holder !== top && top.contains(holder)) return { id: holder.id, tag: element.tagName };
    return { index: [...top.querySelectorAll("a, button, summary")].indexOf(element) };
  };

  const follow = (top, place) => {
    if (place.id === undefined) return top.querySelectorAll("a, button, summary")[place.index];
    const holder = top.querySelector("#" + CSS.escape(place.id));
    if (!holder) return null;
    return holder.tagName === place.tag ? holder : holder.querySelector(place.tag);
  };

  const update = (fresh) => {
    const old = [...main.children];
    const wanted = [...fresh.children];
    if (old.length === wanted.length) {
      old.forEach((one, i) => put(one, wanted[i]));
    } else {
      const open = opened(main);
      main.replaceChildren(...wanted.map((one) => document.importNode(one, true)));
      for (const id of open) {
        const found = document.getElementById(id);
        if (found) found.open = true;
      }
    }
  };

  const look = async () => {
    if (document.hidden) return;
    try {
      const reply = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      if (!reply.ok) throw new Error(String(reply.status));
      const told = new DOMParser().parseFromString(await reply.text(), "text/html");
      const fresh = told.getElementById("main");
      if (!fresh || !fresh.dataset.refresh) {
        location.reload(); // the login has ended
        return;
      }
      update(fresh);
      put(document.querySelector("footer time"), told.querySelector("footer time"));
      lost.textContent = "";
    } catch {
      if (!lost.textContent) lost.textContent = lost.dataset.text;
    }
  };

  const again = () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      await look();
      again();
    }, seconds * 1000);
  };

  document.addEventListener("visibilitychange", async () => {
    if (document.hidden) return;
    await look();
    again();
  });
  again();
})();
