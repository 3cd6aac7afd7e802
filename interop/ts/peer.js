// The peer as `npm run build` makes it of src/peer.ts.
import './dist/peer.js';
