/* ask ADDRESS PORT FORMAT: IPv4; without an answer SIGALRM ends it */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **word)
{
	char question[1042], answer[2048] = "";
	int line = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned long nonce;

	if (count != 4 || !inet_aton(word[1], &to.sin_addr)
	    || !(to.sin_port = htons(atoi(word[2])))
	    || getentropy(&nonce, sizeof nonce))
		return 2;
	sprintf(question, "%016lx|%.1024s", nonce, word[3]);
	if (connect(line, (void *)&to, sizeof to) || alarm(1)
	    || send(line, question, strlen(question), 0) < 0
	    || recv(line, answer, sizeof answer - 1, 0) < 0)
		return 3;
	if (strncmp(answer, question, 17))
		return fprintf(stderr, "no time: %s\n", answer), 1;
	return puts(answer + 17) < 0;
}
