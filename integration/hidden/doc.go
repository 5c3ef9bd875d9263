// Package hidden has no code of its own: its tests observe a program with a hidden Tub that does all that a Tub can, among
// peers who want to know where it is, and show that nothing reaches any address but the proxy's. The same program with a
// Tub that is not hidden shows that the observer would have seen it.
package hidden
