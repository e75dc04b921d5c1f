// Package e2e runs the real p2ptun binary in a natlab lab: a hub, nodes behind
// NATs, and the questions a user would ask of them. Its tests are the
// end-to-end tests; the demo uses the same rig.
//
// It owns the processes and their state directories. It knows p2ptun by its
// command line alone, and the lab by natlab's API.
package e2e
