/** The second page: the code in the mail, and the account. */

import * as api from "../api";
import type { Answer } from "../api";
import { ACCOUNT_FIELDS, newAccount, provenAddress } from "../account-fields";
import { element, heading, newWindow } from "../elements";
import { form } from "../form";
import { pageState, type View } from "../router";
import { sendAgain } from "../send-again";
import { address as askForAddress } from "./address";
import { welcome } from "./done";

export function code(): View {
  const { address } = pageState();
  // Whoever comes without an address gives it again. That sends no second mail within the cooldown.
  return address ? ask(address) : askForAddress();
}

function ask(address: string): View {
  return {
    title: "Look into your mailbox",
    step: 1,
    content: [
      heading("Look into your mailbox"),
      element(
        "p",
        { class: "lead" },
        "A mail with a code should arrive in ",
        newWindow("your mailbox", `${api.API}/mailbox/`),
        " within a minute. Enter the code here, and choose your name and password.",
      ),
      form({
        fields: [
          {
            ...provenAddress(address),
            below: element("p", { class: "hint" }, element("a", { href: "/" }, "Use another address")),
          },
          {
            name: "code",
            label: "Code",
            type: "text",
            autocomplete: "one-time-code",
            inputmode: "numeric",
            hint: "Six digits, valid for 15 minutes.",
            below: sendAgain(address),
          },
          ...ACCOUNT_FIELDS,
        ],
        button: "Create account",
        busy: "Creating your account…",
        send: async (values) =>
          atTheCode(await api.verify({ email: address, code: values("code") }, newAccount(values))),
        onSuccess: (_, { token }) => welcome(token),
      }),
      element("h2", {}, "No code in the mail?"),
      element(
        "p",
        { class: "hint" },
        "Then open its link, which leads to a page for your name and password. ",
        "If the mail says that you have an account already, ",
        element("a", { href: "/log-in/" }, "log in"),
        ".",
      ),
    ],
  };
}

/** Tell of a code that is not valid at its field. The API does not say why, so that nobody learns from guessing. */
function atTheCode<Body>(answer: Answer<Body>): Answer<Body> {
  if (answer.ok || answer.code !== "code-invalid") return answer;
  const text =
    "This code is not valid. It must be from the newest mail, and not older than 15 minutes. " +
    "After several wrong tries you need a new mail.";
  return { ...answer, errors: { code: [text] } };
}
