// What @machinery/backend-memcache exports.

export { MemcacheBackend, type MemcacheBackendOptions } from './memcache-backend.ts';
