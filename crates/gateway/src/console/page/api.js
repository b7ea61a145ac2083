// What the page asks the gateway, and the token that it asks with: in this module's memory, and nowhere else.

const session = { token: null, refreshToken: null, name: "", timer: 0, onEnd: () => {} };

// An answer that is none: with a code of gRPC, and a reason of Accord's where it has one.
export class Refused extends Error {
  constructor({ code, reason, message }) {
    super(message || code || "no answer");
    this.code = code;
    this.reason = reason;
  }
}

async function post(path, message, token, signal) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body: JSON.stringify(message), signal, credentials: "omit" });
  } catch (problem) {
    throw new Refused({ code: "UNREACHABLE", message: `the gateway can't be reached: ${problem.message}` });
  }
  const answer = await response.json().catch(() => ({ code: "UNKNOWN", message: `HTTP ${response.status}` }));
  if (!response.ok) throw new Refused(answer);
  return answer;
}

// Calls a method, `pkg.Service/Method`, with the token of whoever is signed in.
export async function call(method, message = {}) {
  try {
    return await post(`rpc/${method}`, message, session.token);
  } catch (problem) {
    if (problem.code === "UNAUTHENTICATED" && session.token) end("You were signed out: the token is not good any more.");
    throw problem;
  }
}

export const gateway = (method, message) => call(`accord.gateway.v1.ConsoleService/${method}`, message);
export const auth = (method, message) => call(`accord.auth.v1.${method}`, message);

// Who a token says it is of. It is shown and not believed: the gateway verifies it.
function subjectOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (it) => it.charCodeAt(0)))).sub ?? "";
  } catch {
    return "";
  }
}

function hold({ accessToken, refreshToken, expiresIn }) {
  Object.assign(session, { token: accessToken, refreshToken: refreshToken || null, name: subjectOf(accessToken) });
  clearTimeout(session.timer);
  const seconds = Number.parseFloat(expiresIn ?? "");
  if (refreshToken && seconds > 0) session.timer = setTimeout(renew, Math.min(seconds * 700, 2 ** 31 - 1));
}

async function renew() {
  try {
    hold(await post("rpc/accord.auth.v1.TokenService/Refresh", { refreshToken: session.refreshToken }));
  } catch {
    end("You were signed out: the token could not be renewed.");
  }
}

// Signs in with a password; the code is that of a second factor.
export async function signIn(name, password, totpCode) {
  const grant = { password: { name, password, ...(totpCode ? { totpCode } : {}) } };
  hold(await post("rpc/accord.auth.v1.TokenService/Issue", grant));
  await check();
}

// Signs in with an access token.
export async function useToken(token) {
  hold({ accessToken: token.trim() });
  await check();
}

// Whether the console may be seen with it.
async function check() {
  try {
    await post("rpc/accord.gateway.v1.ConsoleService/GetState", {}, session.token);
  } catch (problem) {
    forget();
    throw problem;
  }
}

function forget() {
  clearTimeout(session.timer);
  Object.assign(session, { token: null, refreshToken: null, name: "" });
}

function end(why) {
  forget();
  session.onEnd(why);
}

// Signs out, at auth as well where the login came from there.
export function signOut() {
  const { token, refreshToken } = session;
  end("");
  if (refreshToken) post("rpc/accord.auth.v1.TokenService/Revoke", { token: refreshToken }, token).catch(() => {});
}

export const isSignedIn = () => session.token !== null;
export const name = () => session.name;
export const onEnd = (listener) => { session.onEnd = listener; };

// A call through the public listener's own code: of a method's own path, in JSON.
export function tryCall(method, text, headers, signal) {
  const own = { "content-type": "application/json", authorization: `Bearer ${session.token}` };
  const options = { method: "POST", body: text, headers: { ...headers, ...own }, signal, credentials: "omit" };
  return fetch(`call/${method}`, options);
}
