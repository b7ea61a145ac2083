// Calls of neighbours carry on what came with the call that is being served (@grpc/grpc-js).
'use strict';

const { InterceptingCall, Metadata } = require('@grpc/grpc-js');

const CARRIED_ON = ['x-accord-passport', 'x-accord-criticality', 'x-request-id', 'traceparent', 'tracestate'];

/**
 * An interceptor for the client of a neighbour. Each call names the one that is being served, `{ parent: call }`: by that,
 * grpc-js itself keeps to what is left of its deadline and cancels with it.
 */
const callContext = (token) => (options, nextCall) =>
  new InterceptingCall(nextCall(options), {
    start(metadata, listener, next) {
      for (const name of CARRIED_ON) {
        const values = options.parent?.metadata.get(name) ?? [];
        if (metadata.get(name).length === 0) values.forEach((value) => metadata.add(name, value));
      }
      token.get().then(
        (bearer) => {
          metadata.set('authorization', `Bearer ${bearer}`);
          next(metadata, listener);
        },
        ({ code, details }) => listener.onReceiveStatus({ code, details, metadata: new Metadata() }),
      );
    },
  });

module.exports = { callContext };
