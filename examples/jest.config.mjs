// Jest runs ES modules as they are when Node is given --experimental-vm-modules; here, what tsc made of them.
export default {
  testMatch: ['<rootDir>/dist/testing/jest.test.js'],
  transform: {},
};
