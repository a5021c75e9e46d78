/**
 * A test of whole texts by a pattern: `*` is any text, `?` any one character. On a mismatch only the last `*` takes one character
 * more, which is enough and takes time by the product of both lengths at most; a regular expression would try every `*`.
 */
export function wildcardMatcher(pattern: string): (text: string) => boolean {
  const wanted = Array.from(pattern);
  return (text) => {
    const chars = Array.from(text);
    let [w, c] = [0, 0];
    // Where the last `*` stands, and where what follows it was last tried.
    let [star, tried] = [-1, 0];
    while (c < chars.length) {
      if (wanted[w] === '*') {
        star = w++;
        tried = c;
      } else if (wanted[w] === '?' || wanted[w] === chars[c]) {
        w++;
        c++;
      } else if (star >= 0) {
        w = star + 1;
        c = ++tried;
      } else return false;
    }
    while (wanted[w] === '*') w++;
    return w === wanted.length;
  };
}
