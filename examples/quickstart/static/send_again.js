import { busy, post } from "./api.js";

/** Let a form ask for the link again; the answer is the same whatever address it has. */
export function sendAgain(form) {
  const input = form?.elements.email;
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const status = form.querySelector("[role=status]");
    status.textContent = "";
    input.removeAttribute("aria-invalid");
    const answer = await busy(form.querySelector("button"), () => post(form.action, { email: input.value.trim() }));
    status.className = answer.ok ? "hint" : "error";
    status.textContent = answer.errors.email?.join("\n") ?? answer.detail;
    if (answer.errors.email) {
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  });
}
