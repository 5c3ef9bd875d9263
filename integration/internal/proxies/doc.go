// Package proxies runs SOCKS5 proxies that nobody here wrote, microsocks and Dante, for the integration tests.
//
// They resolve only names that the test gives them: they see an /etc/hosts of their own and ask no name servers. With
// FOOLSCAP_INTEGRATION=1 a test fails when what it needs is missing, otherwise it is skipped. All of this is for Linux.
package proxies
