// The relay in Node (@grpc/grpc-js), with the interceptor that the guide shows.
//
// Usage: main.js --port PORT --gateway HOST:PORT --auth HOST:PORT --client-id ID --client-secret-file FILE
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { AccessToken } = require('../../interceptors/node/access_token.js');
const { callContext } = require('../../interceptors/node/call_context.js');

const NAMES = ['port', 'gateway', 'auth', 'client-id', 'client-secret-file'];
const { values } = parseArgs({ options: Object.fromEntries(NAMES.map((name) => [name, { type: 'string' }])) });

const includeDirs = ['../../proto', '../../../../proto'].map((root) => path.join(__dirname, root));
const FILES = ['echo/v1/echo_service.proto', 'relay/v1/relay_service.proto', 'accord/auth/v1/token_service.proto'];
const { accord, echo, relay } = grpc.loadPackageDefinition(loader.loadSync(FILES, { includeDirs }));

const plaintext = grpc.credentials.createInsecure();
const auth = new accord.auth.v1.TokenService(values.auth, plaintext);
const secret = fs.readFileSync(values['client-secret-file'], 'utf8').trim();
const token = new AccessToken(auth, values['client-id'], secret);
const neighbour = new echo.v1.EchoService(values.gateway, plaintext, { interceptors: [callContext(token)] });

const server = new grpc.Server();
server.addService(relay.v1.RelayService.service, {
  metadata: (call, done) => neighbour.metadata({}, { parent: call }, done),
  slow: (call, done) => neighbour.slow(call.request, { parent: call }, done),
  // An error is passed on with its trailers.
  fail: (call, done) => neighbour.fail({ code: call.request.code, message: 'as asked' }, { parent: call }, done),
  count(call) {
    const numbers = neighbour.count(call.request, { parent: call });
    numbers.on('data', ({ number }) => {
      if (!call.write({ number })) {
        numbers.pause();
        call.once('drain', () => numbers.resume());
      }
    });
    numbers.on('end', () => call.end());
    numbers.on('error', (error) => call.emit('error', error));
  },
});
server.bindAsync(`127.0.0.1:${values.port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
