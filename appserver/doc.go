// Package appserver offers services under FURLs of their own, set up with a
// command or two: what Python Foolscap calls an application server.
//
// A [Server] is a folder with the identity of a Tub and a list of services. Folders
// that Python's flappserver has made are understood, and have the same FURLs here.
// There are services to which files are uploaded, and services that run a command;
// a program can add types of its own. [Upload] and [Run] are the client's side.
//
// The package does not listen: that is for the Tub that [Server.Serve] is given. The
// command "foolscap app" does all of it, and docs/appserver.md describes the folder,
// the services and what they promise.
package appserver
