// What @machinery/backend-mongodb exports.

export { MongoBackend, type MongoBackendOptions } from './mongo-backend.ts';
