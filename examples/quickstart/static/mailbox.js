const PAUSE = 2000; // milliseconds
const list = document.querySelector(".mails");
const status = document.querySelector("[role=status]");

/** Put what has come since on top. The other mails stay the same elements, so that focus and selection stay too. */
function update(page) {
  const shown = [...list.children];
  const present = [...page.querySelectorAll(".mails > li")];
  const isIn = (items, item) => items.some(({ innerHTML }) => innerHTML === item.innerHTML);
  const arrived = present.filter((item) => !isIn(shown, item));
  shown.filter((item) => !isIn(present, item)).forEach((item) => item.remove());
  list.prepend(...arrived);
  list.hidden = present.length === 0;
  document.querySelector(".empty").hidden = present.length > 0;
  if (arrived.length === 1) status.textContent = `New mail: ${arrived[0].querySelector(".subject").textContent}`;
  if (arrived.length > 1) status.textContent = `${arrived.length} new mails`;
}

async function refresh() {
  if (document.hidden) return;
  try {
    const response = await fetch(document.URL);
    if (response.ok) update(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    // The server is away: the list stays as it is until it is back.
  }
}

async function refreshForever() {
  await refresh();
  setTimeout(refreshForever, PAUSE);
}

document.querySelector("#refresh").hidden = true; // for those without JavaScript
document.addEventListener("visibilitychange", refresh);
setTimeout(refreshForever, PAUSE);
