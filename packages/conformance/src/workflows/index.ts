// The suite of workflows.

export { testWorkflows } from './test-workflows.ts';
export type { WorkflowsUnderTest } from './workflows-under-test.ts';
