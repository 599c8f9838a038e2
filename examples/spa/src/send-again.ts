/** Asking for another mail on the page that waits for the code. */

import { register } from "./api";
import { element } from "./elements";
import { isBusy, whileBusy } from "./form";

/**
 * Make the button that asks for another mail. The API gives the same answer whether the cooldown has passed or not:
 * what is said here must be true in each case.
 */
export function sendAgain(address: string): HTMLElement {
  const status = element("p", { role: "status" });
  const button = element("button", { type: "button", class: "inline" }, "Send it again");
  button.addEventListener("click", async () => {
    if (isBusy(button)) return;
    status.textContent = "";
    const answer = await whileBusy(button, "Sending…", () => register(address));
    status.className = answer.ok ? "sent-again" : "error";
    status.textContent = answer.ok
      ? "The mail was sent now, or when you last asked: between two mails there is a pause, and it grows. " +
        "Only the newest mail's code is valid."
      : (Object.values(answer.errors).flat().join("\n") || answer.detail);
  });
  return element("div", { class: "again" }, element("p", { class: "hint" }, "Need a new mail? ", button), status);
}
