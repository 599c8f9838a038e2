import { busy, post } from "./api.js";

/** Let a form ask for the link again; the answer is the same whatever address it has. */
export function sendAgain(form) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const status = form.querySelector("[role=status]");
    status.textContent = "";
    const answer = await busy(form.querySelector("button"), () =>
      post(form.action, { email: form.elements.email.value.trim() }),
    );
    status.textContent = answer.errors.email?.join("\n") ?? answer.detail;
  });
}
