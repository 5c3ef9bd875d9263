package tornet

const (
	// ControlVariable is where a program that Command runs finds the control port of its tor: "unix:" and a path.
	ControlVariable = "FOOLSCAP_TOR_CONTROL"
	// SOCKSVariable is where it finds the address of the SOCKS port.
	SOCKSVariable = "FOOLSCAP_TOR_SOCKS"
)
