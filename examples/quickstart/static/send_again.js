import { busy, post, setError } from "./api.js";

/** Let a form ask for the link again; the answer is the same whatever address it has. */
export function sendAgain(form) {
  const input = form.elements.email;
  const isField = input.type !== "hidden";
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const status = form.querySelector("[role=status]");
    status.textContent = "";
    if (isField) setError(input);
    const { ok, detail, errors } = await busy(form.querySelector("button"), () =>
      post(form.action, { email: input.value.trim() }),
    );
    if (isField && errors.email) {
      setError(input, errors.email);
      input.focus();
    } else {
      status.className = ok ? "notice" : "error";
      status.textContent = errors.email?.join("\n") ?? detail;
    }
  });
  if (isField) form.addEventListener("input", () => setError(input));
}
