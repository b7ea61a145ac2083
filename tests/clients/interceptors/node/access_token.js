// The service's own access token: one for all calls, gotten anew before it ends.
'use strict';

const { status } = require('@grpc/grpc-js');

class AccessToken {
  #token = '';
  #renews = 0;
  #ends = 0;
  #login;

  /** `auth` is a client of accord.auth.v1.TokenService. */
  constructor(auth, clientId, clientSecret) {
    this.auth = auth;
    this.request = { clientCredentials: { clientId, clientSecret } };
  }

  /** The token, by a promise. All who wait for one share a login. */
  async get() {
    if (performance.now() < this.#renews) return this.#token;
    this.#login ??= this.#issue().finally(() => { this.#login = undefined; });
    try {
      await this.#login;
    } catch (error) {
      // While auth is down, the token is good for the last third of its life.
      if (performance.now() >= this.#ends) throw this.#unavailable(error);
    }
    return this.#token;
  }

  /** The service's own fault, which is not to look like one of its caller's credential. */
  #unavailable({ code }) {
    const { clientId } = this.request.clientCredentials;
    const details = `this service could not log in to auth as \`${clientId}\`: ${status[code]}`;
    return Object.assign(new Error(details), { code: status.UNAVAILABLE, details });
  }

  async #issue() {
    const asked = performance.now();
    const issued = await new Promise((resolve, reject) => {
      const done = (error, answer) => (error ? reject(error) : resolve(answer));
      this.auth.issue(this.request, { deadline: Date.now() + 5000 }, done);
    });
    // Numbers that are zero may be left out, and a Long converts by its text.
    const { seconds = 0, nanos = 0 } = issued.expiresIn;
    const life = Number(seconds) * 1000 + nanos / 1e6;
    [this.#token, this.#renews, this.#ends] = [issued.accessToken, asked + (life * 2) / 3, asked + life];
  }
}

module.exports = { AccessToken };
