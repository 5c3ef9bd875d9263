// Package flapp has no code of its own: its tests run "foolscap app" against Python's flappserver and flappclient, all of
// them as processes.
package flapp
