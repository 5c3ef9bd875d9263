// Package socks has no code of its own: its tests let package handlers/socks, and Tubs that use it, talk through real
// proxies, which internal/proxies runs. All of it happens in a network namespace that has only a loopback interface.
package socks
