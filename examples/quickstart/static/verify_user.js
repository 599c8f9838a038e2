import { alertWith, busy, moveTo, post, show } from "./api.js";
import { sendAgain } from "./send_again.js";

const NAMES = ["user_id", "timestamp", "signature"];

/** Take the link's values out of the address, where they would stay in the history; a reload still has them. */
function takeValues() {
  const query = new URLSearchParams(location.search);
  const values = location.search ? Object.fromEntries(NAMES.map((name) => [name, query.get(name)])) : history.state;
  history.replaceState(values, "", location.pathname);
  return values;
}

const values = takeValues();
const form = document.querySelector("#ask form"); // the log-out is a form too

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  document.querySelector("#alert").textContent = "";
  const answer = await busy(form.querySelector("button"), () => post(form.action, values));
  if (answer.ok) moveTo(answer.headers.has("First-Click") ? "done" : "already");
  else if (["signature-invalid", "signature-expired"].includes(answer.code)) moveTo(answer.code);
  else if (answer.code === "invalid") moveTo("signature-invalid");
  else alertWith(answer.detail);
});

sendAgain(document.querySelector("form.again"));

if (values && NAMES.every((name) => values[name])) show("ask");
else show("incomplete");
