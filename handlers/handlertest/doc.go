// Package handlertest is the conformance kit for transports: it tests that a
// handlers.Handler and a handlers.Acceptor do what Tubs rely on. One call of
// [Run] in a test of the transport does all of it:
//
//	func TestConformance(t *testing.T) {
//		handlertest.Run(t, handlertest.Config{
//			NewHandler: func(*testing.T) handlers.Handler { return mine.New() },
//			NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
//				l, err := mine.Listen(t.Context(), "127.0.0.1:0")
//				require.NoError(t, err)
//				return l
//			},
//		})
//	}
//
// Each property is a subtest named for it. A failure is a fault of the
// transport, or of a machine that is very much too slow; the kit may overlook
// faults, those that depend on chance above all, and finds more of them under
// the race detector.
//
// docs/transports.md says how to write a transport.
package handlertest
