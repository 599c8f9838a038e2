/**
 * POST data as JSON.
 *
 * Gives an object with `ok`, `code`, `detail` and `errors` whatever happens, so that a page has one thing to show; with
 * `headers` too if there was an answer.
 */
export async function post(url, data) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(data),
    });
  } catch {
    return { ok: false, code: "unreachable", detail: "The server cannot be reached. Please try again.", errors: {} };
  }
  const body = await response.json().catch(() => ({}));
  const detail = body.detail ?? `The server answered with status ${response.status}. Please try again.`;
  return { ok: response.ok, headers: response.headers, code: body.code ?? "", detail, errors: body.errors ?? {} };
}

/** Run a task while the button says so. It keeps the focus, which a button that is `disabled` loses. */
export async function busy(button, task) {
  const label = button.textContent;
  button.setAttribute("aria-disabled", "true");
  button.textContent = button.dataset.busy;
  try {
    return await task();
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = label;
  }
}

/** What is sent once more while its button waits goes nowhere. */
function stopTheSecond(event) {
  if (!event.submitter?.hasAttribute("aria-disabled")) return;
  event.preventDefault();
  event.stopPropagation();
}

document.addEventListener("submit", stopTheSecond, { capture: true });

/** Show one of the page's sections in place of the others. */
export function show(id) {
  for (const section of document.querySelectorAll("main > section")) {
    section.hidden = section.id !== id;
  }
}

/** Show a section and tell assistive technology about it, by moving the focus to its heading. */
export function moveTo(id) {
  show(id);
  const heading = document.querySelector(`#${id} h1`);
  document.title = `${heading.textContent} · Quickstart`;
  heading.focus();
}

/** Show messages at their field, or take them away. */
export function setError(input, messages = []) {
  document.querySelector(`#${input.id}-error`).textContent = messages.join("\n");
  if (messages.length > 0) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

/** Show a fault of the request as a whole. */
export function alertWith(text) {
  const alert = document.querySelector("#alert");
  alert.textContent = text;
  alert.focus();
}
