// Jest runs ES modules as they are when Node is given --experimental-vm-modules; here, what tsc made of them.
export default {
  rootDir: '../dist/testing',
  testMatch: ['<rootDir>/jest.test.js'],
  transform: {},
};
