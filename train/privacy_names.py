"""First names that are common in some country and are no everyday English word or city.

A moderate list, by hand, for ``train.privacy``: it decides only where a sentence leaves
it open whether a capitalised word is a name ("Anna Berg", "I'm Omar"). Names that are
also words or places (Grace, Will, Paris, San Jose) are left out on purpose.
"""

from __future__ import annotations

_TEXT = """
Aaron Abdul Abdullah Abigail Adam Adele Adrian Agnes Agnieszka Ahmed Aisha Akira Alan Albert
Alejandro Alessandro Alex Alexander Alexandra Alexis Alfred Ali Alice Alicia Alina Alison Amal
Amanda Amelia Amina Amir Amy Ana Anastasia Anders Andrea Andreas Andrei Andrew Andrzej Andy
Angela Anil Anita Anja Ann Anna Anne Annika Anthony Antoine Anton Antonio Anya Arjun Arthur Arun
Asha Astrid Ayse Ayumi Barbara Beatrice Beatriz Benjamin Bernard Bernd Beth Betty Bianca Birgit
Bjorn Bob Boris Brandon Brenda Brian Bruno Bryan Camila Camille Carl Carla Carlos Carmen Carol
Caroline Carolyn Catherine Cecilia Chloe Christian Christina Christine Christopher Claire Clara
Claudia Colin Connor Craig Cristina Cynthia Dagmar Daniel Daniela Danielle Darius Dave David
Deborah Debra Deepak Denise Dennis Derek Diana Diane Dieter Dimitri Dmitri Dominik Donald Donna
Doris Dorothy Douglas Duncan Dylan Edith Eduardo Edward Edwin Eileen Elaine Eleanor Elena Elias
Elif Elisa Elizabeth Ella Ellen Elsa Emil Emilia Emily Emma Emmanuel Enrique Eric Erica Erik
Erika Ernst Esther Ethan Eugene Eva Evan Evelyn Farah Fatima Felipe Felix Fernando Fiona
Francesca Francisco Franz Fred Freya Fritz Gabriel Gabriela Gareth Gary George Gerald Gerard
Gianni Giulia Giuseppe Gloria Gordon Graham Greg Gregory Greta Guillaume Gustav Haley Hamza
Hannah Hans Harold Harriet Harry Hassan Hector Heidi Heinrich Helen Helena Helga Henrik Henry
Hiroshi Hugo Hussein Ian Ibrahim Igor Ilse Imran Ines Ingrid Irena Irina Isaac Isabel Isabella
Isabelle Ivan Ivana Jack Jacob Jacqueline James Jamie Jan Jana Jane Janet Janice Javier Jean
Jeff Jeffrey Jennifer Jens Jeremy Jerry Jesse Jessica Jill Jim Joan Joanna Johan Johannes John
Johnny Jon Jonas Jonathan Jorge Joseph Joshua Joyce Juan Juana Judith Judy Julia Julian Julie
Julien Jurgen Justin Kaito Karen Karim Karin Karl Katarina Kate Katherine Kathleen Katrin Katya
Kavya Keiko Keith Kelly Ken Kenji Kenneth Kevin Khalid Kim Klaus Kristen Kristina Kumar Kurt
Kyle Lars Laura Lauren Laurent Lea Leah Leila Lena Leo Leon Leonardo Leonie Leslie Liam Liesel
Lina Linda Lisa Lorenzo Louis Louise Luca Lucas Lucia Lucy Luigi Luis Luisa Lukas Lydia Magda
Mahmoud Malik Manuel Marcel Marco Marcus Margaret Maria Mariam Marie Marina Mario Marion Marta
Martha Martin Martina Mary Maryam Mateo Matteo Matthew Matthias Maurice Max Maximilian Maya
Megan Mehmet Mei Melanie Melissa Michael Michaela Michel Michelle Miguel Mikhail Milan Mina
Miriam Mohamed Mohammed Moritz Muhammad Mustafa Nadia Nadine Nancy Naomi Natalia Natalie Natasha
Neha Neil Niamh Nicholas Nick Nicolas Nicole Nikhil Nikita Nikolai Nina Noah Nora Norbert Norman
Nuno Olaf Olga Oliver Olivia Omar Oscar Oskar Otto Owen Pablo Pamela Pascal Patricia Patrick
Paul Paula Pauline Pavel Pedro Peter Petra Philip Philipp Philippe Phillip Pierre Pieter Piotr
Priya Rachel Rafael Rahul Raj Rajesh Ralph Ramon Raquel Raul Ravi Raymond Rebecca Reza Ricardo
Riccardo Richard Rita Robert Roberto Robin Rodrigo Roger Roland Rolf Roman Ronald Rosa Ruth Ryan
Sabine Sabrina Said Salma Sam Samantha Samir Samuel Sandra Sanjay Sara Sarah Sasha Scott Sean
Sebastian Selma Sergei Sergio Shannon Sharon Shirley Silvia Simon Simone Sofia Sonia Sophia
Sophie Stefan Stefanie Stephanie Stephen Steve Steven Stuart Sunil Sunita Susan Susanne Suzanne
Sven Svetlana Sylvia Takashi Tamara Tanja Tanya Tara Tatiana Teresa Theodor Theresa Thomas Tim
Timothy Tina Tobias Tom Tomasz Tony Tracy Ulrich Ursula Valentina Valerie Vanessa Vera Veronica
Victor Vijay Vikram Viktor Vincent Vladimir Walter Wei Wendy Werner Wilhelm William Wolfgang
Xavier Yasmin Yolanda Yosef Yuki Yuri Yusuf Yves Yvonne Zahra Zara Zeynep Zoe
"""

FIRST_NAMES = frozenset(_TEXT.split())
