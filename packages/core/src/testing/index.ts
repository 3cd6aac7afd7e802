// What @machinery/core/testing exports: a server for tests of one's own tasks, in any test runner.

export {
  type DrainOptions,
  type Limits,
  type Sent,
  TestServer,
  type TestServerOptions,
  testServer,
} from './test-server.ts';
