// The number that a float32 prints as: 0.1 for what a double shows as 0.10000000149011612. Used by `argument-types.ts`.
// Invariant: the result rounds back to the same float32, and its text is the shortest that does, as Go prints it.

/** The double with the shortest text that rounds to the finite float32 `float`. */
export function shortestFloat32(float: number): number {
  if (Math.abs(float) <= 0x1000000 && Number.isInteger(float)) return float;
  const isPowerOfTwo = Number.isInteger(Math.log2(Math.abs(float)));
  // Six digits always survive a float32, except where it is subnormal.
  for (let digits = Math.abs(float) < 1.2e-38 ? 1 : 6; digits < 9; digits++) {
    const nearest = Number(float.toPrecision(digits));
    if (Math.fround(nearest) === float) {
      // Go: at a power of two the larger one here too.
      return nearest === float || isPowerOfTwo ? nearest : tieToEven(float, digits, nearest);
    }
    if (!isPowerOfTwo) continue;
    const beyond = nextDecimal(float, digits);
    if (Math.fround(beyond) === float) return beyond;
  }
  return tieToEven(float, 9, Number(float.toPrecision(9)));
}

// Of two decimals equally near (2097152.2 and 2097152.3) JavaScript takes the larger and Go the even one.
function tieToEven(float: number, digits: number, nearest: number): number {
  const longer = float.toExponential(digits);
  const end = longer.indexOf('e');
  if (longer.charCodeAt(end - 1) !== 0x35 || Number(longer) !== float) return nearest;
  const shorter = Number(longer.slice(0, end - 1) + longer.slice(end));
  return longer.charCodeAt(end - 2) % 2 === 0 && Math.fround(shorter) === float ? shorter : nearest;
}

// Beyond a power of two floats lie twice as far apart as before it: a decimal further away on that side may round back
// where the nearest one, before it, does not.
function nextDecimal(float: number, digits: number): number {
  const [mantissa = '', exponent = ''] = float.toExponential(digits - 1).split('e');
  const sign = mantissa.startsWith('-') ? '-' : '';
  const next = Number(mantissa.replace(/[-.]/g, '')) + 1;
  return Number(`${sign}${next}e${Number(exponent) - digits + 1}`);
}
