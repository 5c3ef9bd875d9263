// Package remote has the remote interfaces of peers/objects.py in Go.
package remote
