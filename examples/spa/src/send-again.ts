/** Asking for the link again. */

import { resend } from "./api";
import { element } from "./elements";
import { form, type FormOptions } from "./form";

export interface SendAgainOptions {
  readonly button: string;
  readonly kind?: NonNullable<FormOptions["kind"]>;
  /** Where the link goes; without it the user is asked. */
  readonly address?: string;
}

/**
 * Make the form that asks for the link again. The API's answer is the same whatever address it gets, and within the
 * cooldown it sends nothing: what is said here must be true in each case.
 */
export function sendAgain({ button, kind, address }: SendAgainOptions): HTMLElement {
  const status = element("p", { class: "sent-again", role: "status" });
  const again = form({
    fields: address ? [] : [{ name: "email", label: "Your e-mail address", type: "email", autocomplete: "email" }],
    button,
    busy: "Sending…",
    ...(kind ? { kind } : {}),
    send: (values) => {
      status.textContent = "";
      return resend(address ?? values.get("email") ?? "");
    },
    onSuccess: () => {
      status.textContent =
        "If this address waits to be confirmed, a new link is on its way. A link is sent only once in a while: " +
        "if none arrives, wait a little before you ask again.";
    },
  });
  return element("div", { class: "again" }, again, status);
}
