package signaling

// Signaling is a few messages of some KiB that somebody waits for. A congestion
// control that paces (BBR) spaces the segments of each over a part of the round trip,
// as if many were to follow: 20 ms a segment at 400 ms, on each of a message's two
// connections. Burst lets them leave at once, as all others do: ten to begin with
// (RFC 6928).
