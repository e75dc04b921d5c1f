// Package udpbatch moves UDP datagrams many at a time. On Linux a read takes
// all that waits in one system call (recvmmsg), runs of equal datagrams joined
// by the sender or the kernel (UDP_GRO) included; a run of equal datagrams
// leaves in one as well (UDP_SEGMENT), gathered from where its pieces lie.
// Elsewhere it is one datagram at a time, with the same results.
//
// It knows sockets, addresses and bytes; what a datagram means is its users'.
package udpbatch
