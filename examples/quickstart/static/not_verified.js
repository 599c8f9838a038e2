import { sendAgain } from "./send_again.js";

sendAgain(document.querySelector("form.again"));
