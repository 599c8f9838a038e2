import { alertWith, busy, moveTo, post, setError } from "./api.js";
import { sendAgain } from "./send_again.js";

const form = document.querySelector("#ask form"); // the log-out is a form too
const fields = [...form.querySelectorAll("input[name]")];
const passwords = fields.filter((input) => input.type === "password");
const showPasswords = document.querySelector("#show-passwords");

function clearErrors() {
  document.querySelector("#alert").textContent = "";
  document.querySelector("#status").textContent = "";
  fields.forEach((input) => setError(input));
}

function togglePasswords() {
  for (const input of passwords) input.type = showPasswords.checked ? "text" : "password";
}

function showErrors({ detail, errors }) {
  const bad = fields.filter((input) => input.name in errors);
  bad.forEach((input) => setError(input, errors[input.name]));
  const elsewhere = Object.entries(errors)
    .filter(([name]) => !fields.some((input) => input.name === name))
    .flatMap(([name, messages]) => (name === "_schema" ? messages : messages.map((text) => `${name}: ${text}`)));

  if (elsewhere.length > 0) alertWith(elsewhere.join("\n"));
  else if (bad.length === 0) alertWith(detail);
  document.querySelector("#status").textContent =
    bad.length > 0 ? `${bad.length} ${bad.length === 1 ? "field needs" : "fields need"} another look.` : "";
  bad[0]?.focus();
}

async function submit(event) {
  event.preventDefault();
  clearErrors();
  const answer = await busy(form.querySelector("button"), () =>
    post(form.action, Object.fromEntries(new FormData(form))),
  );
  if (!answer.ok) return showErrors(answer);
  const address = form.elements.email.value.trim();
  document.querySelector("#address").textContent = address;
  document.querySelector("#again-email").value = address;
  form.reset();
  togglePasswords();
  moveTo("sent");
}

form.addEventListener("submit", submit);
form.addEventListener("input", ({ target }) => {
  if (target.name) setError(target);
});
showPasswords.addEventListener("change", togglePasswords);
togglePasswords();
sendAgain(document.querySelector("form.again"));
